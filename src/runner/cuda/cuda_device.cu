/* The device through CUDA's runtime, which is linked statically and finds the driver's library when
 * it is first called: a program with this in it also starts where there is none. */
#include "runner/cuda/cuda_device.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nano_cuda_device {
    int ordinal, num_multiprocessors;
    cudaStream_t stream;
    cudaEvent_t events[NANO_CUDA_EVENTS];
    cudaEvent_t *marks; /* made when they are first set */
    bool overlaps;
    cudaError_t error;   /* the first that a call met */
    const char *failure; /* another's */
};

struct nano_cuda_graph {
    cudaGraphExec_t exec;
};

namespace
{
enum { OLDEST_MAJOR = 8, OVERLAP_MAJOR = 9, OVERLAP_DRIVER = 12030 /* in graphs too */ };

__global__ void probe_kernel()
{
}

/* Kernels wait for those before them only if they were compiled for a GPU that can: code that is
 * translated from an older one's does not. NANOVLLM_CUDA_OVERLAP=0 is for finding mistakes. */
bool can_overlap(const struct nano_cuda_device_info *info)
{
    const char *wanted = getenv("NANOVLLM_CUDA_OVERLAP");
    cudaFuncAttributes attributes;
    int driver = 0;
    if ((wanted && strcmp(wanted, "0") == 0) || info->compute_major < OVERLAP_MAJOR ||
        CUDART_VERSION < OVERLAP_DRIVER || cudaDriverGetVersion(&driver) != cudaSuccess ||
        driver < OVERLAP_DRIVER)
        return false;
    if (cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess)
        return attributes.ptxVersion >= 10 * OVERLAP_MAJOR;
    (void)cudaGetLastError();
    return false;
}

void note(struct nano_cuda_device *device, cudaError_t error)
{
    if (device->error == cudaSuccess)
        device->error = error;
}

enum nano_status status_of(const struct nano_cuda_device *device, struct nano_error *err)
{
    if (device->failure)
        return nano_error_set(err, NANO_ERR_INTERNAL, "the GPU failed: %s", device->failure);
    if (device->error == cudaSuccess)
        return NANO_OK;
    return nano_error_set(err, NANO_ERR_INTERNAL, "the GPU failed: %s: %s",
                          cudaGetErrorName(device->error), cudaGetErrorString(device->error));
}

enum nano_status no_device(struct nano_error *err, cudaError_t error)
{
    int version = 0;
    if (error == cudaErrorInsufficientDriver)
        cudaDriverGetVersion(&version);
    (void)cudaGetLastError();
    if (error == cudaErrorInsufficientDriver && version == 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "no NVIDIA driver on this machine; --runner cpu works without");
    if (error == cudaErrorInsufficientDriver)
        return nano_error_set(
            err, NANO_ERR_UNSUPPORTED,
            "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d or newer", version / 1000,
            version % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "no NVIDIA GPU: %s",
                          cudaGetErrorString(error));
}
} // namespace

extern "C" {

enum nano_status nano_cuda_device_query(struct nano_cuda_device_info *out, int ordinal,
                                        struct nano_error *err)
{
    int count = 0;
    memset(out, 0, sizeof *out);
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess)
        return no_device(err, error);
    if (ordinal < 0 || ordinal >= count)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "no GPU %d, there are %d", ordinal, count);
    cudaDeviceProp properties;
    size_t free_bytes, total_bytes;
    error = cudaGetDeviceProperties(&properties, ordinal);
    if (error == cudaSuccess)
        error = cudaSetDevice(ordinal);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (error != cudaSuccess)
        return no_device(err, error);
    snprintf(out->name, sizeof out->name, "%.63s", properties.name);
    out->compute_major = properties.major;
    out->compute_minor = properties.minor;
    out->num_multiprocessors = properties.multiProcessorCount;
    out->total_bytes = total_bytes;
    out->free_bytes = free_bytes;
    if (properties.major < OLDEST_MAJOR)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "GPU %d, %s, has compute capability %d.%d, expected %d.0 or newer",
                              ordinal, properties.name, properties.major, properties.minor,
                              static_cast<int>(OLDEST_MAJOR));
    return NANO_OK;
}

enum nano_status nano_cuda_device_open(struct nano_cuda_device **out, int ordinal,
                                       struct nano_error *err)
{
    struct nano_cuda_device_info info;
    *out = NULL;
    enum nano_status status = nano_cuda_device_query(&info, ordinal, err);
    if (status != NANO_OK)
        return status;
    struct nano_cuda_device *device =
        static_cast<struct nano_cuda_device *>(calloc(1, sizeof *device));
    cudaEvent_t *marks = static_cast<cudaEvent_t *>(calloc(NANO_CUDA_MARKS, sizeof *marks));
    if (!device || !marks) {
        free(device);
        free(marks);
        return nano_error_no_memory(err, "the GPU", NANO_CUDA_MARKS * sizeof *marks);
    }
    device->ordinal = ordinal;
    device->num_multiprocessors = info.num_multiprocessors;
    device->marks = marks;
    device->overlaps = can_overlap(&info);
    cudaError_t error = cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking);
    for (int i = 0; i < NANO_CUDA_EVENTS && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&device->events[i], cudaEventDisableTiming);
    if (error != cudaSuccess) {
        nano_cuda_device_close(device);
        return no_device(err, error);
    }
    *out = device;
    return NANO_OK;
}

void nano_cuda_device_close(struct nano_cuda_device *device)
{
    if (!device)
        return;
    for (int i = 0; i < NANO_CUDA_MARKS; i++)
        if (device->marks[i])
            cudaEventDestroy(device->marks[i]);
    for (int i = 0; i < NANO_CUDA_EVENTS; i++)
        if (device->events[i])
            cudaEventDestroy(device->events[i]);
    if (device->stream)
        cudaStreamDestroy(device->stream);
    free(device->marks);
    free(device);
}

enum nano_status nano_cuda_device_alloc(struct nano_cuda_device *, void **out, uint64_t num_bytes,
                                        const char *what, struct nano_error *err)
{
    *out = NULL;
    const cudaError_t error = cudaMalloc(out, num_bytes ? num_bytes : 1);
    if (error == cudaSuccess)
        return NANO_OK;
    *out = NULL;
    (void)cudaGetLastError();
    return nano_error_set(err, NANO_ERR_NO_MEMORY, "%s: no %.1f MiB of the GPU's memory: %s", what,
                          static_cast<double>(num_bytes) / (1024.0 * 1024.0),
                          cudaGetErrorString(error));
}

void nano_cuda_device_free(struct nano_cuda_device *, void *memory)
{
    if (memory)
        cudaFree(memory);
}

enum nano_status nano_cuda_host_alloc(struct nano_cuda_device *, void **out, uint64_t num_bytes,
                                      const char *what, struct nano_error *err)
{
    *out = NULL;
    const cudaError_t error = cudaMallocHost(out, num_bytes ? num_bytes : 1);
    if (error == cudaSuccess)
        return NANO_OK;
    *out = NULL;
    (void)cudaGetLastError();
    return nano_error_set(err, NANO_ERR_NO_MEMORY, "%s: no %.1f MiB of page-locked memory: %s",
                          what, static_cast<double>(num_bytes) / (1024.0 * 1024.0),
                          cudaGetErrorString(error));
}

void nano_cuda_host_free(struct nano_cuda_device *, void *memory)
{
    if (memory)
        cudaFreeHost(memory);
}

void nano_cuda_copy_in(struct nano_cuda_device *device, void *to, const void *from_host,
                       size_t num_bytes)
{
    note(device, cudaMemcpyAsync(to, from_host, num_bytes, cudaMemcpyHostToDevice, device->stream));
}

void nano_cuda_copy_out(struct nano_cuda_device *device, void *to_host, const void *from,
                        size_t num_bytes)
{
    note(device, cudaMemcpyAsync(to_host, from, num_bytes, cudaMemcpyDeviceToHost, device->stream));
}

void nano_cuda_copy(struct nano_cuda_device *device, void *to, const void *from, size_t num_bytes)
{
    note(device, cudaMemcpyAsync(to, from, num_bytes, cudaMemcpyDeviceToDevice, device->stream));
}

void nano_cuda_fill(struct nano_cuda_device *device, void *to, int byte, size_t num_bytes)
{
    note(device, cudaMemsetAsync(to, byte, num_bytes, device->stream));
}

enum nano_status nano_cuda_device_synchronize(struct nano_cuda_device *device,
                                              struct nano_error *err)
{
    note(device, cudaGetLastError()); /* a launch that was refused */
    note(device, cudaStreamSynchronize(device->stream));
    return status_of(device, err);
}

void nano_cuda_event_record(struct nano_cuda_device *device, int index)
{
    note(device, cudaEventRecord(device->events[index], device->stream));
}

enum nano_status nano_cuda_event_wait(struct nano_cuda_device *device, int index,
                                      struct nano_error *err)
{
    note(device, cudaGetLastError());
    note(device, cudaEventSynchronize(device->events[index]));
    return status_of(device, err);
}

void nano_cuda_device_fail(struct nano_cuda_device *device, const char *what)
{
    device->failure = what;
}

enum nano_status nano_cuda_graph_begin(struct nano_cuda_device *device, struct nano_error *err)
{
    const cudaError_t error =
        cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal);
    if (error == cudaSuccess)
        return NANO_OK;
    note(device, error);
    return nano_error_set(err, NANO_ERR_INTERNAL, "the GPU failed: %s", cudaGetErrorString(error));
}

enum nano_status nano_cuda_graph_end(struct nano_cuda_device *device, struct nano_cuda_graph **out,
                                     struct nano_error *err)
{
    cudaGraph_t recorded = NULL;
    *out = NULL;
    struct nano_cuda_graph *graph = static_cast<struct nano_cuda_graph *>(calloc(1, sizeof *graph));
    note(device, cudaGetLastError());
    cudaError_t error = cudaStreamEndCapture(device->stream, &recorded);
    if (!graph) {
        cudaGraphDestroy(recorded);
        return nano_error_no_memory(err, "a graph", sizeof *graph);
    }
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&graph->exec, recorded, 0);
    if (recorded)
        cudaGraphDestroy(recorded);
    if (error != cudaSuccess) {
        note(device, error);
        free(graph);
        return nano_error_set(err, NANO_ERR_INTERNAL, "the GPU failed: %s",
                              cudaGetErrorString(error));
    }
    *out = graph;
    return NANO_OK;
}

void nano_cuda_graph_launch(struct nano_cuda_device *device, struct nano_cuda_graph *graph)
{
    note(device, cudaGraphLaunch(graph->exec, device->stream));
}

void nano_cuda_graph_destroy(struct nano_cuda_graph *graph)
{
    if (!graph)
        return;
    cudaGraphExecDestroy(graph->exec);
    free(graph);
}

int nano_cuda_device_multiprocessors(const struct nano_cuda_device *device)
{
    return device->num_multiprocessors;
}

void *nano_cuda_device_stream(struct nano_cuda_device *device)
{
    return device->stream;
}

bool nano_cuda_device_overlaps(const struct nano_cuda_device *device)
{
    return device->overlaps;
}

void nano_cuda_mark(struct nano_cuda_device *device, int index)
{
    if (!device->marks[index])
        note(device, cudaEventCreate(&device->marks[index]));
    if (device->marks[index])
        note(device, cudaEventRecord(device->marks[index], device->stream));
}

uint64_t nano_cuda_marked_ns(struct nano_cuda_device *device, int first, int last)
{
    float ms = 0;
    if (cudaEventElapsedTime(&ms, device->marks[first], device->marks[last]) != cudaSuccess)
        return 0;
    return static_cast<uint64_t>(static_cast<double>(ms) * 1e6);
}
}
