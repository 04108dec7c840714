noinst_LTLIBRARIES += librunner.la
librunner_la_CPPFLAGS = $(AM_CPPFLAGS)
librunner_la_SOURCES = \
  src/runner/batch_check.c src/runner/batch_check.h \
  src/runner/draw.h \
  src/runner/program_parts.c src/runner/program_parts.h \
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
