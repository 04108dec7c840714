/* Loads ONNX Runtime. */
#include "runner/onnx/onnx_api.h"

#include <ctype.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config.h"

#define API_VERSION 14

/* ONNX Runtime allows one environment per process. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nano_ort loaded;

/* What goes wrong comes back as a status too; these are details for who looks for them. */
static void ORT_API_CALL log_message(void *context, OrtLoggingLevel severity, const char *category,
                                     const char *log_id, const char *location, const char *message)
{
    (void)context, (void)severity, (void)category, (void)log_id;
    nano_log(NANO_LOG_DEBUG, "ONNX Runtime: %s (%s)", message, location);
}

enum nano_status nano_ort_check(const struct nano_ort *ort, OrtStatus *result, const char *what,
                                struct nano_error *err)
{
    char line[400];
    size_t length = 0;
    if (!result)
        return NANO_OK;
    bool space = false;
    for (const char *c = ort->api->GetErrorMessage(result); *c && length + 2 < sizeof line; c++) {
        if (isspace((unsigned char)*c)) {
            space = length > 0;
            continue;
        }
        if (space)
            line[length++] = ' ';
        space = false;
        line[length++] = *c;
    }
    line[length] = '\0';
    const OrtErrorCode code = ort->api->GetErrorCode(result);
    ort->api->ReleaseStatus(result);
    const enum nano_status status = code == ORT_NO_SUCHFILE        ? NANO_ERR_IO
                                    : code == ORT_INVALID_PROTOBUF ? NANO_ERR_FORMAT
                                    : code == ORT_INVALID_GRAPH    ? NANO_ERR_FORMAT
                                    : code == ORT_NOT_IMPLEMENTED  ? NANO_ERR_UNSUPPORTED
                                    : code == ORT_INVALID_ARGUMENT ? NANO_ERR_INVALID_ARGUMENT
                                    : strstr(line, "bad_alloc")    ? NANO_ERR_NO_MEMORY
                                    : strstr(line, "allocate mem") ? NANO_ERR_NO_MEMORY
                                                                   : NANO_ERR_UNSUPPORTED;
    return nano_error_set(err, status, "%s: %s", what, line);
}

static enum nano_status load(struct nano_ort *out, struct nano_error *err)
{
    const char *path = getenv("NANOVLLM_ONNXRUNTIME");
    if (!path || !*path)
        path = NANO_ONNXRUNTIME_LIBRARY;
    /* Makers' builds may report to them over the network, from the moment that they are loaded. */
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "ONNX Runtime cannot be loaded: %s; $NANOVLLM_ONNXRUNTIME can name "
                              "the library",
                              reason ? reason : path);
    }
    /* ISO C has no cast from an object's pointer to a function's. */
    const OrtApiBase *(ORT_API_CALL * get_base)(void) = NULL;
    void *symbol = dlsym(library, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof get_base);
    if (!get_base) {
        dlclose(library);
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "%s is no ONNX Runtime", path);
    }
    const OrtApiBase *base = get_base();
    *out = (struct nano_ort){.version = base->GetVersionString()};
    /* Asked for a version that it does not have, the library prints. */
    int major = 0, minor = 0;
    if (sscanf(out->version, "%d.%d", &major, &minor) == 2 &&
        (major > 1 || (major == 1 && minor >= API_VERSION)))
        out->api = base->GetApi(API_VERSION);
    if (!out->api) {
        const enum nano_status status = nano_error_set(
            err, NANO_ERR_UNSUPPORTED, "%s is ONNX Runtime %s, expected 1.%d or newer", path,
            out->version, API_VERSION);
        dlclose(library);
        return status;
    }
    OrtStatus *result = out->api->CreateEnvWithCustomLogger(
        log_message, NULL, ORT_LOGGING_LEVEL_WARNING, "nanovllm", &out->env);
    return nano_ort_check(out, result, path, err);
}

enum nano_status nano_ort_get(const struct nano_ort **out, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct nano_ort found;
    *out = NULL;
    pthread_mutex_lock(&lock);
    if (!loaded.env) {
        status = load(&found, err);
        if (status == NANO_OK)
            loaded = found;
    }
    pthread_mutex_unlock(&lock);
    if (status == NANO_OK)
        *out = &loaded;
    return status;
}
