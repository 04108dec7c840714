RUNNER_TEST_SOURCES = tests/runner_harness.c tests/runner_harness.h tests/tiny_model.c tests/tiny_model.h

check_PROGRAMS += tests/test_cpu_runner
tests_test_cpu_runner_SOURCES = tests/test_cpu_runner.c tests/leak_check.h $(RUNNER_TEST_SOURCES)
tests_test_cpu_runner_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cpu_runner_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_golden_logits
tests_test_golden_logits_SOURCES = tests/test_golden_logits.c $(RUNNER_TEST_SOURCES)
tests_test_golden_logits_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_golden_logits_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_architectures
tests_test_architectures_SOURCES = tests/test_architectures.c tests/grown_model.c tests/grown_model.h \
  tests/grown_specs.c tests/leak_check.h $(RUNNER_TEST_SOURCES)
tests_test_architectures_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_architectures_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_op_values
tests_test_op_values_SOURCES = tests/test_op_values.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
tests_test_op_values_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_op_values_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_attention_features
tests_test_attention_features_SOURCES = tests/test_attention_features.c \
  tests/naive_program.c tests/naive_program.h tests/naive_moe.c tests/naive_moe.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c $(RUNNER_TEST_SOURCES)
tests_test_attention_features_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_attention_features_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_recurrent
tests_test_recurrent_SOURCES = tests/test_recurrent.c tests/grown_model.c tests/grown_model.h \
  tests/grown_specs.c $(RUNNER_TEST_SOURCES)
tests_test_recurrent_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_recurrent_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/check_cpu_pool
tests_check_cpu_pool_SOURCES = tests/check_cpu_pool.c tests/require.h
tests_check_cpu_pool_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
