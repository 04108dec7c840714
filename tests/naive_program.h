/* A program in plain loops of doubles: what it means, without passes, kernels or memory plan. */
#ifndef TESTS_NAIVE_PROGRAM_H
#define TESTS_NAIVE_PROGRAM_H

#include "models/program.h"

/* False if the program has weights that are only made when they are read. */
bool naive_knows(const struct nano_program *program);

/* Logits [num_tokens, vocab_size], or an encoder's hidden rows, of one sequence that begins at
 * position 0, for the caller to free. The program is unfused (nano_program_build), its weights are
 * F32. */
double *naive_logits(const struct nano_program *program, const int32_t *tokens, int num_tokens);

#endif
