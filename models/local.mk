noinst_LTLIBRARIES += libmodels.la
libmodels_la_SOURCES = \
  models/builder.c models/builder.h \
  models/builder_ops.c \
  models/fuse.c models/passes.h \
  models/kv_groups.c \
  models/llama.c \
  models/plan.c \
  models/program.c models/program.h \
  models/program_check.c \
  models/program_print.c \
  models/qwen2.c \
  models/qwen3.c \
  models/registry.c \
  models/rope.c
