dist_man_MANS += docs/nanovllm.1
dist_doc_DATA = docs/API.md docs/OPERATING.md docs/MODELS.md docs/CUDA.md docs/ONNX.md docs/QUANTIZE.md docs/example.c docs/example_cpp.cpp
