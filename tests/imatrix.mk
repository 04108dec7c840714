check_PROGRAMS += tests/test_imatrix
tests_test_imatrix_SOURCES = tests/test_imatrix.c $(PROGRAM_TEST) $(GGUF_BUILDER) $(RUNNER_TEST_SOURCES)
tests_test_imatrix_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_imatrix_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_moe
tests_test_moe_SOURCES = tests/test_moe.c tests/grown_model.c tests/grown_model.h $(RUNNER_TEST_SOURCES)
tests_test_moe_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_moe_LDADD = $(TEST_LIBS)
