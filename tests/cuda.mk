# The CUDA runner on an emulated GPU: its kernels are compiled as C++, a file each.
if HAVE_CXX
# Built for the programs that are linked with it, not for every make check; as no libtool library, which
# would be compiled twice.
EXTRA_LIBRARIES = tests/libcuda_emulated.a
CLEANFILES += tests/libcuda_emulated.a # which automake leaves to whoever builds it
tests_libcuda_emulated_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/cuda
tests_libcuda_emulated_a_SOURCES = $(CUDA_HOST_FILES) \
  tests/cuda/cuda_emulation.cc tests/cuda/cuda_emulation.h \
  tests/cuda/emulated_attention.cc \
  tests/cuda/emulated_attention_any.cc \
  tests/cuda/emulated_attention_mma.cc \
  tests/cuda/emulated_attention_mma8.cc \
  tests/cuda/emulated_convert.cc \
  tests/cuda/emulated_elementwise.cc \
  tests/cuda/emulated_embed.cc \
  tests/cuda/emulated_heads.cc \
  tests/cuda/emulated_kv.cc \
  tests/cuda/emulated_linear.cc \
  tests/cuda/emulated_linear_finish.cc \
  tests/cuda/emulated_linear_tile.cc \
  tests/cuda/emulated_linear_tile_quant.cc \
  tests/cuda/emulated_moe.cc \
  tests/cuda/emulated_norm.cc \
  tests/cuda/emulated_recurrent.cc \
  tests/cuda/emulated_route.cc \
  tests/cuda/emulated_sample.cc \
  tests/cuda/emulated_short_conv.cc \
  tests/cuda/emulated_unpack.cc \
  tests/cuda/fake_device.h \
  tests/cuda/fiber.cc tests/cuda/fiber.h \
  tests/cuda/quant_kernel.cc tests/cuda/quant_kernel.h
CUDA_TEST_LIBS = tests/libcuda_emulated.a $(TEST_LIBS)

# Programs of C files are linked as C++ all the same: "none.cc" asks for it.

check_PROGRAMS += tests/test_cuda_runner
tests_test_cuda_runner_SOURCES = tests/test_cuda_runner.c tests/cuda/emulated_registry.c \
  tests/engine_harness.c tests/engine_harness.h $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_runner_SOURCES = none.cc
tests_test_cuda_runner_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_runner_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_runner_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_emulation
tests_test_cuda_emulation_SOURCES = tests/test_cuda_emulation.cc
tests_test_cuda_emulation_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/cuda
tests_test_cuda_emulation_CXXFLAGS = $(AM_CXXFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_emulation_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_linear
tests_test_cuda_linear_SOURCES = tests/test_cuda_linear.c tests/tiny_model.c tests/tiny_model.h
nodist_EXTRA_tests_test_cuda_linear_SOURCES = none.cc
tests_test_cuda_linear_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_linear_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_linear_input
tests_test_cuda_linear_input_SOURCES = tests/test_cuda_linear_input.c tests/cuda/cuda_fixture.h
nodist_EXTRA_tests_test_cuda_linear_input_SOURCES = none.cc
tests_test_cuda_linear_input_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_linear_input_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_quant
tests_test_cuda_quant_SOURCES = tests/test_cuda_quant.c tests/check_kernels.h \
  tests/check_kernels.c tests/check_linear.c
nodist_EXTRA_tests_test_cuda_quant_SOURCES = none.cc
tests_test_cuda_quant_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_quant_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_attention
tests_test_cuda_attention_SOURCES = tests/test_cuda_attention.c \
  tests/cuda_attention_fixture.c tests/cuda_attention_fixture.h tests/tiny_model.c tests/tiny_model.h
nodist_EXTRA_tests_test_cuda_attention_SOURCES = none.cc
tests_test_cuda_attention_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_attention_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_attention_plan
tests_test_cuda_attention_plan_SOURCES = tests/test_cuda_attention_plan.c tests/tiny_model.c tests/tiny_model.h
nodist_EXTRA_tests_test_cuda_attention_plan_SOURCES = none.cc
tests_test_cuda_attention_plan_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_attention_plan_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_elementwise
tests_test_cuda_elementwise_SOURCES = tests/test_cuda_elementwise.c tests/cuda/cuda_fixture.h
nodist_EXTRA_tests_test_cuda_elementwise_SOURCES = none.cc
tests_test_cuda_elementwise_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_elementwise_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_fuse
tests_test_cuda_fuse_SOURCES = tests/test_cuda_fuse.c tests/cuda/cuda_fixture.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_fuse_SOURCES = none.cc
tests_test_cuda_fuse_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_fuse_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_fuse_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_recurrent
tests_test_cuda_recurrent_SOURCES = tests/test_cuda_recurrent.c tests/cuda/cuda_fixture.h
nodist_EXTRA_tests_test_cuda_recurrent_SOURCES = none.cc
tests_test_cuda_recurrent_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_recurrent_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_route
tests_test_cuda_route_SOURCES = tests/test_cuda_route.c tests/cuda/cuda_fixture.h
nodist_EXTRA_tests_test_cuda_route_SOURCES = none.cc
tests_test_cuda_route_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_route_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_sample
tests_test_cuda_sample_SOURCES = tests/test_cuda_sample.c tests/engine_harness.c tests/engine_harness.h
nodist_EXTRA_tests_test_cuda_sample_SOURCES = none.cc
tests_test_cuda_sample_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_sample_LDADD = $(CUDA_TEST_LIBS)

# Tests of runners, once more with this one. With sanitizers one has to do for all kernels: they are slow.

check_PROGRAMS += tests/test_cuda_op_values
tests_test_cuda_op_values_SOURCES = tests/test_op_values.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_op_values_SOURCES = none.cc
tests_test_cuda_op_values_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_op_values_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_op_values_LDADD = $(CUDA_TEST_LIBS)

if !HAVE_SANITIZER
check_PROGRAMS += tests/test_cuda_schedules
tests_test_cuda_schedules_SOURCES = tests/test_cuda_schedules.c tests/cuda/emulated_registry.c \
  tests/random_schedules.c tests/random_schedules.h \
  tests/engine_harness.c tests/engine_harness.h $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_schedules_SOURCES = none.cc
tests_test_cuda_schedules_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/cuda
tests_test_cuda_schedules_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_schedules_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_golden
tests_test_cuda_golden_SOURCES = tests/test_golden_logits.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_golden_SOURCES = none.cc
tests_test_cuda_golden_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_golden_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_golden_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_architectures
tests_test_cuda_architectures_SOURCES = tests/test_architectures.c \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c tests/leak_check.h $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_architectures_SOURCES = none.cc
tests_test_cuda_architectures_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_architectures_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_architectures_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_features
tests_test_cuda_features_SOURCES = tests/test_attention_features.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_features_SOURCES = none.cc
tests_test_cuda_features_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_features_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_features_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_states
tests_test_cuda_states_SOURCES = tests/test_recurrent.c \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_cuda_states_SOURCES = none.cc
tests_test_cuda_states_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda
tests_test_cuda_states_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_states_LDADD = $(CUDA_TEST_LIBS)
endif

# The same on a GPU; without one they are skipped.
if HAVE_CUDA
dist_check_SCRIPTS += tests/check_cuda.sh

noinst_PROGRAMS += bench/bench_cuda
bench_bench_cuda_SOURCES = bench/bench_cuda.c
nodist_EXTRA_bench_bench_cuda_SOURCES = none.cc
bench_bench_cuda_LDADD = $(NANO_LAYERS) $(NANO_LIBS)

check_PROGRAMS += tests/test_gpu_golden
tests_test_gpu_golden_SOURCES = tests/test_golden_logits.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_gpu_golden_SOURCES = none.cc
tests_test_gpu_golden_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda -DHARNESS_GPU
tests_test_gpu_golden_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gpu_golden_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_gpu_architectures
tests_test_gpu_architectures_SOURCES = tests/test_architectures.c \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c tests/leak_check.h $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_gpu_architectures_SOURCES = none.cc
tests_test_gpu_architectures_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda -DHARNESS_GPU
tests_test_gpu_architectures_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gpu_architectures_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_gpu_op_values
tests_test_gpu_op_values_SOURCES = tests/test_op_values.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_gpu_op_values_SOURCES = none.cc
tests_test_gpu_op_values_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda -DHARNESS_GPU
tests_test_gpu_op_values_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gpu_op_values_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_gpu_features
tests_test_gpu_features_SOURCES = tests/test_attention_features.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_gpu_features_SOURCES = none.cc
tests_test_gpu_features_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda -DHARNESS_GPU
tests_test_gpu_features_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gpu_features_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_gpu_states
tests_test_gpu_states_SOURCES = tests/test_recurrent.c \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
nodist_EXTRA_tests_test_gpu_states_SOURCES = none.cc
tests_test_gpu_states_CPPFLAGS = $(AM_CPPFLAGS) -DHARNESS_RUNNER=nano_runner_cuda -DHARNESS_GPU
tests_test_gpu_states_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_gpu_states_LDADD = $(TEST_LIBS)
endif
endif
