/* Routing and experts in plain loops of doubles, for one row. */
#ifndef TESTS_NAIVE_MOE_H
#define TESTS_NAIVE_MOE_H

#include "models/program.h"

/* routes[2 * slot] is an expert, routes[2 * slot + 1] its weight. */
void naive_route(const struct nano_op *op, const double *logits, double *routes);

/* `glu` is act(gate) * factor. */
void naive_moe(const struct nano_op *op, const double *x, const double *routes, double *out,
               double (*glu)(enum nano_act act, double gate, double factor));

#endif
