noinst_LTLIBRARIES += libengine.la
libengine_la_CPPFLAGS = $(AM_CPPFLAGS) -DNANO_PKGDATADIR='"$(pkgdatadir)"'
libengine_la_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS)
libengine_la_SOURCES = \
  src/engine/adapters.c src/engine/adapters.h \
  src/engine/block_manager.c src/engine/block_manager.h \
  src/engine/candidates.c src/engine/candidates.h \
  src/engine/embedding.c src/engine/embedding.h \
  src/engine/engine.c \
  src/engine/engine_ahead.c \
  src/engine/engine_state.h \
  src/engine/engine_step.c \
  src/engine/generate.c \
  src/engine/imatrix_collect.c src/engine/imatrix_collect.h \
  src/engine/imatrix_compute.c \
  src/engine/kv_shape.c src/engine/kv_shape.h \
  src/engine/memory_plan.c src/engine/memory_plan.h \
  src/engine/meta_print.c src/engine/meta_print.h \
  src/engine/model.c src/engine/model.h \
  src/engine/quantize.c \
  src/engine/quantize_plan.c src/engine/quantize_plan.h \
  src/engine/sampler.c src/engine/sampler.h \
  src/engine/sampling_params.c \
  src/engine/scheduler.c src/engine/scheduler.h \
  src/engine/scheduler_ahead.c \
  src/engine/scheduler_blocks.c src/engine/scheduler_blocks.h \
  src/engine/scheduler_check.c \
  src/engine/scheduler_states.c \
  src/engine/sequence.c src/engine/sequence.h \
  src/engine/speculative.c src/engine/speculative.h \
  src/engine/state_slots.c src/engine/state_slots.h \
  src/engine/step_time.c src/engine/step_time.h \
  src/engine/text_output.c src/engine/text_output.h \
  src/engine/waiting_queue.c src/engine/waiting_queue.h
