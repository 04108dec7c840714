noinst_LTLIBRARIES += librunner.la
librunner_la_SOURCES =
