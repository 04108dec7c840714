check_PROGRAMS += tests/test_formats
tests_test_formats_SOURCES = tests/test_formats.c
tests_test_formats_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_formats_LDADD = $(TEST_LIBS)
