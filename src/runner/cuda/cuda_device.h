/* Device: one GPU, its memory and one stream of work on it. It is all that the CUDA runner knows of
 * the vendor's libraries; tests put an emulation in its place.
 *
 * What is started runs in order, and later than the call. A failure of what was started shows at
 * nano_cuda_device_synchronize or _event_wait. One thread at a time. */
#ifndef NANO_RUNNER_CUDA_CUDA_DEVICE_H
#define NANO_RUNNER_CUDA_CUDA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct nano_cuda_device;
struct nano_cuda_graph;

struct nano_cuda_device_info {
    char name[64];
    int compute_major, compute_minor;
    int num_multiprocessors;
    uint64_t total_bytes, free_bytes; /* of its memory, when it was asked */
};

/* NANO_ERR_UNSUPPORTED where there is no driver, no such device or one that is too old. *out is
 * NULL on failure. */
enum nano_status nano_cuda_device_open(struct nano_cuda_device **out, int ordinal,
                                       struct nano_error *err);
void nano_cuda_device_close(struct nano_cuda_device *device); /* NULL is fine */

/* Of a device that need not be open. */
enum nano_status nano_cuda_device_query(struct nano_cuda_device_info *out, int ordinal,
                                        struct nano_error *err);

/* Memory of the device, 256-byte aligned; its content is undefined. `what` is for the message. */
enum nano_status nano_cuda_device_alloc(struct nano_cuda_device *device, void **out,
                                        uint64_t num_bytes, const char *what,
                                        struct nano_error *err);
void nano_cuda_device_free(struct nano_cuda_device *device, void *memory); /* NULL is fine */

/* Page-locked memory of the host, which the device copies from and to on its own. */
enum nano_status nano_cuda_host_alloc(struct nano_cuda_device *device, void **out,
                                      uint64_t num_bytes, const char *what, struct nano_error *err);
void nano_cuda_host_free(struct nano_cuda_device *device, void *memory); /* NULL is fine */

/* Host memory must be page-locked, and left alone until the copy is over. */
void nano_cuda_copy_in(struct nano_cuda_device *device, void *to, const void *from_host,
                       size_t num_bytes);
void nano_cuda_copy_out(struct nano_cuda_device *device, void *to_host, const void *from,
                        size_t num_bytes);
void nano_cuda_copy(struct nano_cuda_device *device, void *to, const void *from, size_t num_bytes);
void nano_cuda_fill(struct nano_cuda_device *device, void *to, int byte, size_t num_bytes);

/* Waits for all that was started. An error stays: the device can only be closed then. */
enum nano_status nano_cuda_device_synchronize(struct nano_cuda_device *device,
                                              struct nano_error *err);

/* A point in the stream, behind all that was started so far: waiting for it is waiting for that. */
enum { NANO_CUDA_EVENTS = 2 };
void nano_cuda_event_record(struct nano_cuda_device *device, int index);
enum nano_status nano_cuda_event_wait(struct nano_cuda_device *device, int index,
                                      struct nano_error *err);

/* Makes the next synchronize fail, with this (which must live as long). */
void nano_cuda_device_fail(struct nano_cuda_device *device, const char *what);

/* Between begin and end work is recorded instead of done. A graph does it again, with the same
 * addresses and sizes. */
enum nano_status nano_cuda_graph_begin(struct nano_cuda_device *device, struct nano_error *err);
enum nano_status nano_cuda_graph_end(struct nano_cuda_device *device, struct nano_cuda_graph **out,
                                     struct nano_error *err);
void nano_cuda_graph_launch(struct nano_cuda_device *device, struct nano_cuda_graph *graph);
void nano_cuda_graph_destroy(struct nano_cuda_graph *graph); /* NULL is fine */

int nano_cuda_device_multiprocessors(const struct nano_cuda_device *device);

/* What nano_launch starts kernels on: a cudaStream_t. */
void *nano_cuda_device_stream(struct nano_cuda_device *device);

/* True where a kernel may start before the one before it is over (cuda_lang.h). */
bool nano_cuda_device_overlaps(const struct nano_cuda_device *device);

/* Marks points in the stream, to take the time between them: at most NANO_CUDA_MARKS. */
enum { NANO_CUDA_MARKS = 4096 };
void nano_cuda_mark(struct nano_cuda_device *device, int index);
/* Nanoseconds between two marks, after synchronize. */
uint64_t nano_cuda_marked_ns(struct nano_cuda_device *device, int first, int last);

#ifdef __cplusplus
}
#endif

#endif
