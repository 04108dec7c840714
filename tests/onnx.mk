if HAVE_ONNXRUNTIME
noinst_PROGRAMS += bench/bench_onnx
bench_bench_onnx_SOURCES = bench/bench_onnx.c
bench_bench_onnx_CPPFLAGS = $(AM_CPPFLAGS) $(ONNXRUNTIME_CPPFLAGS)
bench_bench_onnx_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
endif
