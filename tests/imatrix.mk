check_PROGRAMS += tests/test_imatrix
tests_test_imatrix_SOURCES = tests/test_imatrix.c $(PROGRAM_TEST) $(GGUF_BUILDER) $(RUNNER_TEST_SOURCES)
tests_test_imatrix_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_imatrix_LDADD = $(TEST_LIBS)
