noinst_LTLIBRARIES += libtokenizer.la
libtokenizer_la_SOURCES =
