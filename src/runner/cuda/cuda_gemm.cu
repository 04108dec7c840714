/* cuBLASLt: the few functions that are used, found when they are first needed. */
#include "runner/cuda/cuda_gemm.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace
{
enum { MAX_PLANS = 512 };

/* What the choice of an algorithm depends on, and the choice. */
struct gemm_plan {
    int bf16, rows, inputs;
    int64_t cols, weight_stride, input_stride, out_stride;
    uint32_t weight_alignment, input_alignment, out_alignment; /* bytes */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
};

bool same(const struct gemm_plan &x, const struct gemm_plan &y)
{
    return x.bf16 == y.bf16 && x.rows == y.rows && x.inputs == y.inputs && x.cols == y.cols &&
           x.weight_stride == y.weight_stride && x.input_stride == y.input_stride &&
           x.out_stride == y.out_stride && x.weight_alignment == y.weight_alignment &&
           x.input_alignment == y.input_alignment && x.out_alignment == y.out_alignment;
}

/* The largest power of two, up to 256, that an address is a multiple of. The library takes all to
 * be 256, but weights are unpacked to, rows begin and columns of outputs are anywhere. */
uint32_t alignment_of(const void *address)
{
    const uintptr_t bits = reinterpret_cast<uintptr_t>(address) | 256;
    return static_cast<uint32_t>(bits & -bits);
}
} // namespace

#define FUNCTIONS(F)                \
    F(Create)                       \
    F(Destroy)                      \
    F(Matmul)                       \
    F(MatmulAlgoGetHeuristic)       \
    F(MatmulDescCreate)             \
    F(MatmulDescDestroy)            \
    F(MatmulDescSetAttribute)       \
    F(MatmulPreferenceCreate)       \
    F(MatmulPreferenceDestroy)      \
    F(MatmulPreferenceSetAttribute) \
    F(MatrixLayoutCreate)           \
    F(MatrixLayoutDestroy)

struct nano_cuda_gemm {
    void *library;
    cublasLtHandle_t handle;
#define DECLARE(name) decltype(&cublasLt##name) name;
    FUNCTIONS(DECLARE)
#undef DECLARE
    struct gemm_plan plans[MAX_PLANS];
    int num_plans;
};

extern "C" {

void nano_cuda_gemm_close(struct nano_cuda_gemm *gemm)
{
    if (!gemm)
        return;
    for (int i = 0; i < gemm->num_plans; i++) {
        gemm->MatmulDescDestroy(gemm->plans[i].operation);
        gemm->MatrixLayoutDestroy(gemm->plans[i].a);
        gemm->MatrixLayoutDestroy(gemm->plans[i].b);
        gemm->MatrixLayoutDestroy(gemm->plans[i].c);
    }
    if (gemm->handle)
        gemm->Destroy(gemm->handle);
    if (gemm->library)
        dlclose(gemm->library);
    free(gemm);
}

enum nano_status nano_cuda_gemm_open(struct nano_cuda_gemm **out, struct nano_error *err)
{
    struct nano_cuda_gemm *gemm = static_cast<struct nano_cuda_gemm *>(calloc(1, sizeof *gemm));
    *out = NULL;
    if (!gemm)
        return nano_error_no_memory(err, "cuBLASLt", sizeof *gemm);
    char name[32];
    snprintf(name, sizeof name, "libcublasLt.so.%d", CUDART_VERSION / 1000);
    gemm->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!gemm->library) {
        nano_error_set(err, NANO_ERR_UNSUPPORTED,
                       "without batch invariance, cuBLASLt is needed: %s", dlerror());
        nano_cuda_gemm_close(gemm);
        return NANO_ERR_UNSUPPORTED;
    }
    const char *missing = NULL;
#define FIND(function)                                                                        \
    *reinterpret_cast<void **>(&gemm->function) = dlsym(gemm->library, "cublasLt" #function); \
    if (!gemm->function)                                                                      \
        missing = "cublasLt" #function;
    FUNCTIONS(FIND)
#undef FIND
    if (missing || gemm->Create(&gemm->handle) != CUBLAS_STATUS_SUCCESS) {
        nano_error_set(err, NANO_ERR_UNSUPPORTED, "%s: %s%s", name,
                       missing ? "no function " : "it cannot be used", missing ? missing : "");
        gemm->handle = NULL;
        dlclose(gemm->library);
        free(gemm);
        return NANO_ERR_UNSUPPORTED;
    }
    *out = gemm;
    return NANO_OK;
}

} // extern "C"

namespace
{
/* NULL when nothing is found or all places are taken. */
struct gemm_plan *find_plan(struct nano_cuda_gemm *gemm, const struct nano_cuda_gemm_args *args)
{
    struct gemm_plan key = {};
    key.bf16 = args->bf16, key.rows = args->rows, key.inputs = args->inputs;
    key.cols = args->cols;
    key.weight_stride = args->weight_stride, key.input_stride = args->input_stride;
    key.out_stride = args->out.stride;
    key.weight_alignment = alignment_of(args->weight);
    key.input_alignment = alignment_of(args->input);
    key.out_alignment = alignment_of(args->out.data);
    for (int i = 0; i < gemm->num_plans; i++)
        if (same(gemm->plans[i], key))
            return &gemm->plans[i];
    if (gemm->num_plans == MAX_PLANS) { /* begin anew: sizes come and go */
        for (int i = 0; i < MAX_PLANS; i++) {
            gemm->MatmulDescDestroy(gemm->plans[i].operation);
            gemm->MatrixLayoutDestroy(gemm->plans[i].a);
            gemm->MatrixLayoutDestroy(gemm->plans[i].b);
            gemm->MatrixLayoutDestroy(gemm->plans[i].c);
        }
        gemm->num_plans = 0;
    }
    /* Columns of cuBLASLt's matrices are rows of ours. */
    const cudaDataType_t half = args->bf16 ? CUDA_R_16BF : CUDA_R_16F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const uint64_t workspace = NANO_CUDA_GEMM_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    const bool ok =
        gemm->MatmulDescCreate(&key.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
            CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulDescSetAttribute(key.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                     sizeof transposed) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatrixLayoutCreate(&key.a, half, static_cast<uint64_t>(args->cols),
                                 static_cast<uint64_t>(args->rows),
                                 args->weight_stride) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatrixLayoutCreate(&key.b, half, static_cast<uint64_t>(args->cols),
                                 static_cast<uint64_t>(args->inputs),
                                 args->input_stride) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatrixLayoutCreate(&key.c, CUDA_R_32F, static_cast<uint64_t>(args->rows),
                                 static_cast<uint64_t>(args->inputs),
                                 args->out.stride) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &workspace, sizeof workspace) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                           &key.weight_alignment,
                                           sizeof key.weight_alignment) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                           &key.input_alignment,
                                           sizeof key.input_alignment) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                           &key.out_alignment,
                                           sizeof key.out_alignment) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                           &key.out_alignment,
                                           sizeof key.out_alignment) == CUBLAS_STATUS_SUCCESS &&
        gemm->MatmulAlgoGetHeuristic(gemm->handle, key.operation, key.a, key.b, key.c, key.c,
                                     preference, 1, &result, &count) == CUBLAS_STATUS_SUCCESS &&
        count == 1;
    if (preference)
        gemm->MatmulPreferenceDestroy(preference);
    if (!ok) {
        if (key.operation)
            gemm->MatmulDescDestroy(key.operation);
        if (key.a)
            gemm->MatrixLayoutDestroy(key.a);
        if (key.b)
            gemm->MatrixLayoutDestroy(key.b);
        if (key.c)
            gemm->MatrixLayoutDestroy(key.c);
        return NULL;
    }
    key.algo = result.algo;
    gemm->plans[gemm->num_plans] = key;
    return &gemm->plans[gemm->num_plans++];
}
} // namespace

extern "C" void nano_cuda_gemm_run(struct nano_cuda_gemm *gemm, struct nano_cuda_device *device,
                                   const struct nano_cuda_gemm_args *args)
{
    const struct gemm_plan *plan = find_plan(gemm, args);
    const float one = 1, zero = 0;
    if (!plan || gemm->Matmul(gemm->handle, plan->operation, &one, args->weight, plan->a,
                              args->input, plan->b, &zero, args->out.data, plan->c, args->out.data,
                              plan->c, &plan->algo, args->workspace, NANO_CUDA_GEMM_BYTES,
                              static_cast<cudaStream_t>(nano_cuda_device_stream(device))) !=
                     CUBLAS_STATUS_SUCCESS)
        nano_cuda_device_fail(device, "cuBLASLt cannot multiply");
}
