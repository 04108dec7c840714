# The CUDA runner on an emulated GPU: its kernels are compiled as C++, a file each.
if HAVE_CXX
check_LTLIBRARIES += tests/libcuda_emulated.la
tests_libcuda_emulated_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/cuda
tests_libcuda_emulated_la_SOURCES = \
  tests/cuda/cuda_emulation.cc tests/cuda/cuda_emulation.h \
  tests/cuda/emulated_linear.cc \
  tests/cuda/emulated_linear_tile.cc \
  tests/cuda/emulated_moe.cc \
  tests/cuda/emulated_norm.cc \
  tests/cuda/fake_device.h \
  tests/cuda/fiber.cc tests/cuda/fiber.h
# A program that is linked with it is linked as C++: its sources end in .cc, or it has
# nodist_EXTRA_tests_NAME_SOURCES = none.cc.
CUDA_TEST_LIBS = tests/libcuda_emulated.la $(TEST_LIBS)

check_PROGRAMS += tests/test_cuda_emulation
tests_test_cuda_emulation_SOURCES = tests/test_cuda_emulation.cc
tests_test_cuda_emulation_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/cuda
tests_test_cuda_emulation_CXXFLAGS = $(AM_CXXFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_emulation_LDADD = $(CUDA_TEST_LIBS)

check_PROGRAMS += tests/test_cuda_linear
tests_test_cuda_linear_SOURCES = tests/test_cuda_linear.c tests/tiny_model.c tests/tiny_model.h
nodist_EXTRA_tests_test_cuda_linear_SOURCES = none.cc
tests_test_cuda_linear_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cuda_linear_LDADD = $(CUDA_TEST_LIBS)
endif
