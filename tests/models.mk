# What the models and runners need, and nothing above them.
LOWER_LIBS = librunner.la libmodels.la libformat.la libsimd.la libbase.la $(NANO_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/test_program
tests_test_program_SOURCES = tests/test_program.c tests/tiny_model.c tests/tiny_model.h tests/leak_check.h
tests_test_program_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_program_LDADD = $(LOWER_LIBS)
