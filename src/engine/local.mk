noinst_LTLIBRARIES += libengine.la
libengine_la_SOURCES =
