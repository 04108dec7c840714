# The ONNX runner. Models are made once per build folder, where python3 has the onnx module.
dist_noinst_SCRIPTS = tests/make_onnx_models.sh

check_PROGRAMS += tests/test_onnx_graph
tests_test_onnx_graph_SOURCES = tests/test_onnx_graph.c tests/onnx_builder.c tests/onnx_builder.h
tests_test_onnx_graph_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_onnx_graph_LDADD = $(TEST_LIBS)

if HAVE_ONNXRUNTIME
check_PROGRAMS += tests/test_onnx
tests_test_onnx_SOURCES = tests/test_onnx.c tests/engine_harness.c tests/engine_harness.h $(RUNNER_TEST_SOURCES)
tests_test_onnx_CPPFLAGS = $(AM_CPPFLAGS) $(ONNXRUNTIME_CPPFLAGS)
tests_test_onnx_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_onnx_LDADD = $(TEST_LIBS)

if HAVE_SHARED
check_LTLIBRARIES += tests/libold_onnxruntime.la
tests_libold_onnxruntime_la_SOURCES = tests/old_onnxruntime.c
tests_libold_onnxruntime_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
AM_TESTS_ENVIRONMENT += NANOVLLM_OLD_ONNXRUNTIME='$(abs_builddir)/tests/.libs/libold_onnxruntime.so'; export NANOVLLM_OLD_ONNXRUNTIME;
endif

dist_check_SCRIPTS += tests/check_engine_onnx.sh
check_DATA = tests/onnx-models/made
tests/onnx-models/made: nanovllm$(EXEEXT) tests/make_onnx_models.sh
	$(AM_V_GEN)srcdir='$(srcdir)' $(srcdir)/tests/make_onnx_models.sh ./nanovllm$(EXEEXT) tests/onnx-models && touch $@
clean-local: clean-onnx
clean-onnx:
	rm -rf tests/onnx-models
AM_TESTS_ENVIRONMENT += NANOVLLM_ONNX_MODELS='$(abs_builddir)/tests/onnx-models'; export NANOVLLM_ONNX_MODELS;

noinst_PROGRAMS += bench/bench_onnx
bench_bench_onnx_SOURCES = bench/bench_onnx.c
bench_bench_onnx_CPPFLAGS = $(AM_CPPFLAGS) $(ONNXRUNTIME_CPPFLAGS)
bench_bench_onnx_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
endif
