/* The library's version, as configure knows it. */
#include "config.h"
#include "nanovllm.h"

const char *nano_version(void)
{
    return PACKAGE_VERSION;
}
