/* TorchScript: a module in the interpreter. Its weights stay where they are in the file's bytes: libtorch copies what
 * it loads, and afterwards each storage that such a copy became is pointed at the original and the copy freed. Where
 * the bytes are a mapped file, the processes of a machine so share them. */
#include "torch_inside.hpp"

#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <malloc.h>
#include <unordered_map>

namespace {

constexpr size_t shared_least = 4096; /* bytes of a weight that is worth it */

/* A file's bytes, and where large parts of them were copied to. */
class reader : public caffe2::serialize::ReadAdapterInterface {
  public:
    explicit reader(File from) : file(std::move(from)) {}
    size_t size() const override {
        return file->size;
    }
    size_t read(uint64_t from, void *buffer, size_t wanted, const char *) const override {
        size_t got = from < file->size ? std::min<size_t>(wanted, file->size - from) : 0;
        if (got > 0) std::memcpy(buffer, file->data + from, got);
        if (got >= shared_least) copies[buffer] = {file->data + from, got};
        return got;
    }
    /* A copy may have been freed since, and another one be in its place. */
    void share(const at::Tensor &weight) const {
        if (!weight.defined() || !weight.has_storage()) return;
        c10::StorageImpl *storage = weight.storage().unsafeGetStorageImpl();
        auto copy = storage->device().is_cpu() ? copies.find(storage->data()) : copies.end();
        if (copy == copies.end() || storage->nbytes() != copy->second.size ||
            std::memcmp(storage->data(), copy->second.original, copy->second.size) != 0)
            return;
        auto *owner = new File(file);
        storage->set_data_ptr_noswap(at::DataPtr(
            const_cast<char *>(copy->second.original), owner, [](void *mine) { delete static_cast<File *>(mine); },
            at::kCPU));
    }

  private:
    struct part {
        const char *original;
        size_t size;
    };
    File file;
    mutable std::unordered_map<const void *, part> copies;
};

/* Those of attributes, and the constants that a frozen module has instead. */
void share_constants(const reader &from, torch::jit::Block *block) {
    for (torch::jit::Node *node : block->nodes()) {
        if (node->kind() == torch::jit::prim::Constant && node->hasAttribute(torch::jit::attr::value) &&
            node->kindOf(torch::jit::attr::value) == torch::jit::AttributeKind::t)
            from.share(node->t(torch::jit::attr::value));
        for (torch::jit::Block *inner : node->blocks()) share_constants(from, inner);
    }
}

void share_weights(const reader &from, const torch::jit::Module &module) {
    c10::IValue(module._ivalue()).visit([&](const c10::IValue &value) {
        if (value.isTensor()) from.share(value.toTensor());
        return false;
    });
    for (torch::jit::Function *function : module._ivalue()->compilation_unit()->get_functions())
        if (auto *graph = torch::jit::tryToGraphFunction(*function)) share_constants(from, graph->graph()->block());
#ifdef __GLIBC__
    malloc_trim(0); /* shim_start tells it to keep what is freed */
#endif
}

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

shim_model *script_load(const File &file, const char *name, c10::Device device) {
    auto made = std::make_unique<script>(device, name);
    auto from = std::make_shared<reader>(file);
    made->module = torch::jit::load(from, device);
    made->module.eval();
    share_weights(*from, made->module);
    for (const at::Tensor &weight : made->module.parameters())
        if (weight.is_floating_point() && weight.scalar_type() != at::kFloat) made->weights = weight.scalar_type();
    return made.release();
}
