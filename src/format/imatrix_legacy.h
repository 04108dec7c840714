/* The legacy kind of importance file (imatrix.h says what it looks like). */
#ifndef NANO_FORMAT_IMATRIX_LEGACY_H
#define NANO_FORMAT_IMATRIX_LEGACY_H

#include <stdio.h>

#include "format/imatrix.h"

/* Reads a whole file's bytes into one that nano_importance_init made; its path is for messages. */
enum nano_status nano_importance_read_legacy(struct nano_importance *out, const void *data,
                                             size_t num_bytes, struct nano_error *err);

/* False if something could not be written (errno says why). */
bool nano_importance_write_legacy(const struct nano_importance *importance, FILE *file);

#endif
