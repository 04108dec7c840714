noinst_LTLIBRARIES += libmodels.la
libmodels_la_SOURCES =
