/* A library that says it is an ONNX Runtime older than any that will do. */
#include <stddef.h>

struct base {
    const void *(*get_api)(unsigned version);
    const char *(*get_version)(void);
};

static const void *get_api(unsigned version)
{
    (void)version;
    return NULL;
}

static const char *get_version(void)
{
    return "1.10.0";
}

const struct base *OrtGetApiBase(void);

__attribute__((visibility("default"))) const struct base *OrtGetApiBase(void)
{
    static const struct base base = {get_api, get_version};
    return &base;
}
