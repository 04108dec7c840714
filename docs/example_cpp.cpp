// example_cpp: nanovllm from C++: handles in unique_ptr, errors as exceptions, one text.
//
//   c++ example_cpp.cpp -o example_cpp $(pkg-config --cflags --libs nanovllm)
//   ./example_cpp [MODEL.gguf]

#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include <nanovllm.h>

namespace {

void check(nano_status status, const nano_error &err)
{
    if (status != NANO_OK)
        throw std::runtime_error(err.message);
}

struct Close {
    void operator()(nano_model *model) const { nano_model_close(model); }
    void operator()(nano_engine *engine) const { nano_engine_destroy(engine); }
    void operator()(char *text) const { nano_free(text); }
};
using Model = std::unique_ptr<nano_model, Close>;
using Engine = std::unique_ptr<nano_engine, Close>;
using Text = std::unique_ptr<char, Close>;

Model open_model(const char *path)
{
    nano_error err{};
    nano_model *model = nullptr;
    check(nano_model_open(&model, path, &err), err);
    return Model(model);
}

Engine create_engine(const Model &model)
{
    nano_error err{};
    nano_engine *engine = nullptr;
    nano_engine_params params = nano_engine_params_default();
    params.max_num_seqs = 1;
    check(nano_engine_create(&engine, model.get(), &params, &err), err);
    return Engine(engine);
}

std::string generate(const Engine &engine, const std::string &prompt)
{
    nano_error err{};
    char *text = nullptr;
    nano_sampling_params sampling = nano_sampling_params_default();
    sampling.max_tokens = 48;
    sampling.temperature = 0;
    check(nano_generate(engine.get(), prompt.c_str(), &sampling, &text, &err), err);
    Text owner(text);
    return text;
}

} // namespace

int main(int argc, char **argv)
try {
    Model model = open_model(argc > 1 ? argv[1] : nullptr);
    Engine engine = create_engine(model); // destroyed before the model
    std::cout << generate(engine, "Once upon a time") << "\n";
    return 0;
} catch (const std::exception &e) {
    std::cerr << "example_cpp: " << e.what() << "\n";
    return 1;
}
