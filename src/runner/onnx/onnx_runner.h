/* ONNX runner: a whole decoder graph in ONNX Runtime. Its config has `onnx` instead of a program.
 */
#ifndef NANO_RUNNER_ONNX_RUNNER_H
#define NANO_RUNNER_ONNX_RUNNER_H

#include "runner/runner.h"

extern const struct nano_runner nano_runner_onnx;

#endif
