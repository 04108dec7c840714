noinst_LTLIBRARIES += libbase.la
libbase_la_SOURCES = \
  src/base/arena.c src/base/arena.h \
  src/base/buffer.c src/base/buffer.h \
  src/base/byte_char.c src/base/byte_char.h \
  src/base/cgroup.c src/base/cgroup.h \
  src/base/error.c src/base/error.h \
  src/base/log.c src/base/log.h \
  src/base/memory.c src/base/memory.h \
  src/base/os.c src/base/os.h \
  src/base/set_log.c \
  src/base/utf8.c src/base/utf8.h \
  src/base/version.c
