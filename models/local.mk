noinst_LTLIBRARIES += libmodels.la
libmodels_la_SOURCES = \
  models/adapter.c models/adapter.h \
  models/bert.c \
  models/builder.c models/builder.h \
  models/builder_blocks.c \
  models/builder_moe.c \
  models/builder_ops.c \
  models/builder_recurrent.c models/recurrent.h \
  models/deepseek2.c \
  models/encoder_blocks.c models/encoder_blocks.h \
  models/falcon.c \
  models/fuse.c models/passes.h \
  models/gemma.c \
  models/gemma2.c \
  models/gemma3.c \
  models/gpt2.c \
  models/gpt_oss.c \
  models/gptneox.c \
  models/granite.c \
  models/kv_groups.c \
  models/lfm2.c \
  models/llama.c \
  models/mamba2.c \
  models/mistral3.c \
  models/nomic_bert.c \
  models/olmo2.c \
  models/phi3.c \
  models/plan.c \
  models/program.c models/op.h models/program.h \
  models/program_check.c \
  models/program_print.c \
  models/qwen2.c \
  models/qwen2moe.c \
  models/qwen3.c \
  models/qwen35.c \
  models/qwen3moe.c \
  models/qwen3next.c \
  models/registry.c \
  models/rope.c \
  models/smollm3.c \
  models/stablelm.c \
  models/starcoder2.c
