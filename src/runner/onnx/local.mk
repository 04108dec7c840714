if HAVE_ONNXRUNTIME
librunner_la_CPPFLAGS += $(ONNXRUNTIME_CPPFLAGS)
librunner_la_SOURCES += \
  src/runner/onnx/onnx_api.c src/runner/onnx/onnx_api.h \
  src/runner/onnx/onnx_batch.c \
  src/runner/onnx/onnx_kv.c src/runner/onnx/onnx_kv.h \
  src/runner/onnx/onnx_probe.c \
  src/runner/onnx/onnx_runner.c src/runner/onnx/onnx_runner.h \
  src/runner/onnx/onnx_session.c src/runner/onnx/onnx_session.h \
  src/runner/onnx/onnx_state.h \
  src/runner/onnx/onnx_step.c
endif
