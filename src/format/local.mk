noinst_LTLIBRARIES += libformat.la
libformat_la_SOURCES =
