/* TorchScript: a module in the interpreter. */
#include "torch_inside.hpp"

#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <memory>

namespace {

/* A file's bytes, in memory. */
class memory_reader : public caffe2::serialize::ReadAdapterInterface {
  public:
    memory_reader(const void *data, size_t size) : bytes(static_cast<const char *>(data)), count(size) {}
    size_t size() const override {
        return count;
    }
    size_t read(uint64_t from, void *buffer, size_t wanted, const char *) const override {
        size_t got = from < count ? std::min<size_t>(wanted, count - from) : 0;
        if (got > 0) std::memcpy(buffer, bytes + from, got);
        return got;
    }

  private:
    const char *bytes;
    size_t count;
};

struct script : shim_model {
    using shim_model::shim_model;
    torch::jit::Module module;

    c10::IValue forward(std::vector<c10::IValue> inputs, const Named &named) override {
        return module.forward(std::move(inputs), torch::jit::Kwargs(named.begin(), named.end()));
    }
    bool takes(const char *argument) const override {
        return module.get_method("forward").function().getSchema().argumentIndexWithName(argument).has_value();
    }
};

} // namespace

shim_model *script_load(const void *data, size_t size, const char *name, c10::Device device) {
    auto made = std::make_unique<script>(device, name);
    made->module = torch::jit::load(std::make_shared<memory_reader>(data, size), device);
    made->module.eval();
    for (const at::Tensor &weight : made->module.parameters())
        if (weight.is_floating_point() && weight.scalar_type() != at::kFloat) made->weights = weight.scalar_type();
    return made.release();
}
