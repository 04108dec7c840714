PROGRAM_TEST = tests/program.c tests/program.h

check_PROGRAMS += tests/test_cli
tests_test_cli_SOURCES = tests/test_cli.c $(PROGRAM_TEST)
tests_test_cli_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS) $(JANSSON_CFLAGS)
tests_test_cli_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)
