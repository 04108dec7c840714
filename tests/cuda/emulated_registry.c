/* The runners of a build with CUDA, whatever this build has: for programs that are linked with the
 * emulated GPU. */
#include "config.h"
#ifndef NANO_HAVE_CUDA
#define NANO_HAVE_CUDA 1
#endif
#include "runner/runner_registry.c"
