noinst_LTLIBRARIES += librunner.la
librunner_la_CPPFLAGS = $(AM_CPPFLAGS)
librunner_la_SOURCES = \
  src/runner/batch_check.c src/runner/batch_check.h \
  src/runner/runner.h \
  src/runner/cpu/cpu_attention.c src/runner/cpu/cpu_attention_plan.c src/runner/cpu/cpu_recurrent.c \
  src/runner/cpu/cpu_barrier.c src/runner/cpu/cpu_barrier.h \
  src/runner/cpu/cpu_head_linear.c \
  src/runner/cpu/cpu_layout.c \
  src/runner/cpu/cpu_limits.c \
  src/runner/cpu/cpu_linear.c \
  src/runner/cpu/cpu_elementwise.c \
  src/runner/cpu/cpu_lora.c src/runner/cpu/cpu_lora.h \
  src/runner/cpu/cpu_lora_pack.c \
  src/runner/cpu/cpu_moe.c \
  src/runner/cpu/cpu_ops.c \
  src/runner/cpu/cpu_pool.c src/runner/cpu/cpu_pool.h \
  src/runner/cpu/cpu_route.c \
  src/runner/cpu/cpu_run.c \
  src/runner/cpu/cpu_runner.c src/runner/cpu/cpu_runner.h \
  src/runner/cpu/cpu_state.h \
  src/runner/cpu/cpu_weights.c
EXTRA_DIST += \
  src/runner/cuda/cuda_act.h \
  src/runner/cuda/cuda_attention.h \
  src/runner/cuda/cuda_batch.h \
  src/runner/cuda/cuda_device.h \
  src/runner/cuda/cuda_elementwise.h \
  src/runner/cuda/cuda_embed.h \
  src/runner/cuda/cuda_lang.h \
  src/runner/cuda/cuda_linear.cu \
  src/runner/cuda/cuda_linear.h \
  src/runner/cuda/cuda_linear_part.h \
  src/runner/cuda/cuda_linear_tile.cu \
  src/runner/cuda/cuda_linear_tile.h \
  src/runner/cuda/cuda_moe.cu \
  src/runner/cuda/cuda_moe.h \
  src/runner/cuda/cuda_norm.cu \
  src/runner/cuda/cuda_norm.h \
  src/runner/cuda/cuda_quant.h \
  src/runner/cuda/cuda_recurrent.h
