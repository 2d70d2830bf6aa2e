// The compiled kernel as a Python module: arrays in, arrays filled, the lock released meanwhile.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "lovasz.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Array = nb::ndarray<nb::device::cpu>;
using Table = nb::ndarray<int64_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Pixels = nb::ndarray<int64_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Doubles = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Factors = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Lower = nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Weights = nb::ndarray<nb::ndim<4>, nb::c_contig, nb::device::cpu>;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

void check(bool fits, const char* what) {
  if (!fits) refuse(what);
}

lovasz::Real real_of(const Array& a) {
  const nb::dlpack::dtype t = a.dtype();
  const auto code = static_cast<nb::dlpack::dtype_code>(t.code);
  if (code == nb::dlpack::dtype_code::Float && t.bits == 64) return lovasz::Real::f64;
  if (code == nb::dlpack::dtype_code::Float && t.bits == 32) return lovasz::Real::f32;
  if (code == nb::dlpack::dtype_code::Float && t.bits == 16) return lovasz::Real::f16;
  if (code == nb::dlpack::dtype_code::Bfloat && t.bits == 16) return lovasz::Real::bf16;
  refuse("logits must be float64, float32, bfloat16 or float16");
}

lovasz::Integer integer_of(const Array& a) {
  using lovasz::Integer;
  const nb::dlpack::dtype t = a.dtype();
  const auto code = static_cast<nb::dlpack::dtype_code>(t.code);
  if (code == nb::dlpack::dtype_code::Bool) return Integer::u8;
  if (code == nb::dlpack::dtype_code::Int)
    return t.bits == 8 ? Integer::i8 : t.bits == 16 ? Integer::i16 : t.bits == 32 ? Integer::i32 : Integer::i64;
  if (code == nb::dlpack::dtype_code::UInt)
    return t.bits == 8 ? Integer::u8 : t.bits == 16 ? Integer::u16 : t.bits == 32 ? Integer::u32 : Integer::u64;
  refuse("target must hold integers");
}

// Of labels finer than the logits, for each pixel along each axis: the place of the logits before it, and the weight
// of the next.
struct Axes {
  const std::optional<Lower>& lower;
  const std::optional<Doubles>& weight;
};

// One call's tensors and problem, checked; owns what the problem points to.
struct Call {
  lovasz::Problem problem = {};
  lovasz::Input input = {};
  lovasz::Upsample upsample = {};
  std::vector<int64_t> ignore;
  std::vector<double> class_weights;
  bool binary;

  Call(const Array& logits, const Array& target, const std::optional<Array>& mask, std::vector<int64_t> ignored,
       int form, int bins, int steps, std::optional<double> smoothing, std::vector<double> ce_weights,
       const Axes& axes)
      : ignore(std::move(ignored)), class_weights(std::move(ce_weights)), binary(form != 0) {
    check(logits.ndim() >= 3 && logits.ndim() <= 5, "logits must be (N, C, *) with one to three axes after C");
    check(form >= 0 && form <= 3, "form must be from 0 to 3");
    check(bins >= 2 && bins <= 65536 && steps >= 1 && steps <= bins,
          "bins must be from 2 to 65536, no fewer than steps");
    check(logits.shape(1) >= 1 && logits.shape(1) < (size_t(1) << 24), "logits must have from 1 to 2^24 classes");
    problem.form = static_cast<lovasz::Form>(form);
    problem.real = real_of(logits);
    problem.integer = integer_of(target);
    problem.classes = static_cast<int>(logits.shape(1));
    problem.bins = bins, problem.steps = steps;
    check(2 * (int64_t(bins) + 16) * problem.classes < int64_t(1) << 31, "bins must be fewer for so many classes");
    problem.ignore = ignore.data(), problem.num_ignore = static_cast<int>(ignore.size());
    problem.cross_entropy = smoothing.has_value();
    if (smoothing) {
      check(problem.form != lovasz::Form::probs, "the cross-entropy is that of logits");
      check(!binary || *smoothing == 0, "smoothing is that of the softmax");
      problem.smoothing = *smoothing;
      check(class_weights.empty() || class_weights.size() == logits.shape(1) * (binary ? 2 : 1),
            "class_weights must be empty, or (C,) for the softmax, else (2 C,)");
      problem.class_weights = class_weights.empty() ? nullptr : class_weights.data();
    }
    const size_t spatial = logits.ndim() - 2;
    for (int64_t& s : input.sizes) s = 1;
    input.sizes[0] = static_cast<int64_t>(logits.shape(0)), input.sizes[1] = problem.classes;
    const size_t first = target.ndim() - spatial;
    check(target.ndim() >= spatial, "target must have the spatial axes of logits");
    for (size_t i = 0; i < spatial; ++i)
      input.sizes[5 - spatial + i] = static_cast<int64_t>(axes.lower ? target.shape(first + i) : logits.shape(2 + i));
    if (axes.lower) take(axes, logits, spatial);
    problem.pixels = input.elements() / problem.classes;
    input.logits = coarse(logits, "logits");
    input.target = tensor(target, binary, "target must be (N, *), or (N, C, *) with a foreground for each channel");
    if (mask) {
      check(integer_of(*mask) == lovasz::Integer::u8, "mask must be bool");
      input.mask = tensor(*mask, binary, "mask must have the shape of target");
    }
  }

  void take(const Axes& axes, const Array& logits, size_t spatial) {
    const char* message = "lower and weight must have an entry for each pixel along each axis of target";
    check(axes.weight.has_value() && axes.weight->shape(0) == axes.lower->shape(0), message);
    static const int32_t none = 0;
    static const double no_weight = 0;
    size_t at = 0;
    for (size_t axis = 0; axis < 3; ++axis) {
      const bool absent = axis + spatial < 3;
      upsample.places[axis] = absent ? 1 : static_cast<int64_t>(logits.shape(axis + spatial - 1));
      upsample.lower[axis] = absent ? &none : axes.lower->data() + at;
      upsample.weight[axis] = absent ? &no_weight : axes.weight->data() + at;
      if (absent) continue;
      const size_t size = static_cast<size_t>(input.sizes[2 + axis]);
      check(at + size <= axes.lower->shape(0), message);
      for (size_t i = 0; i < size; ++i) {
        const int64_t lower = upsample.lower[axis][i], before = i ? upsample.lower[axis][i - 1] : 0;
        const double weight = upsample.weight[axis][i];
        check(lower >= before && lower <= before + 1 && weight >= 0 && weight < 1 &&
                  lower + (weight > 0 ? 1 : 0) < upsample.places[axis],
              "lower must go through the places of logits in steps of 0 or 1, and weight be from 0 to 1");
      }
      at += size;
    }
    check(at == axes.lower->shape(0), message);
    input.upsample = &upsample;
  }

  // A tensor of the size of the logits.
  lovasz::Tensor coarse(const Array& a, const char* message) const {
    if (input.upsample == nullptr) return tensor(a, true, message);
    int64_t sizes[5] = {input.sizes[0], input.sizes[1], upsample.places[0], upsample.places[1], upsample.places[2]};
    return tensor(a, true, message, sizes);
  }

  lovasz::Tensor tensor(const Array& a, bool has_classes, const char* message) const {
    return tensor(a, has_classes, message, input.sizes);
  }

  static lovasz::Tensor tensor(const Array& a, bool has_classes, const char* message, const int64_t* sizes) {
    lovasz::Tensor t = {a.data(), {0, 0, 0, 0, 0}};
    size_t axis = 0;
    const int spatial = static_cast<int>(a.ndim()) - (has_classes ? 2 : 1);
    check(spatial >= 1 && spatial <= 3, message);
    check(static_cast<int64_t>(a.shape(axis)) == sizes[0], message);
    t.strides[0] = a.stride(axis++);
    if (has_classes) {
      check(static_cast<int64_t>(a.shape(axis)) == sizes[1], message);
      t.strides[1] = a.stride(axis++);
    }
    for (int i = 5 - spatial; i < 5; ++i, ++axis) {
      check(static_cast<int64_t>(a.shape(axis)) == sizes[i], message);
      t.strides[i] = a.stride(axis);
    }
    return t;
  }
};

const lovasz::Kernel& kernel_of(const std::string& name) {
  for (const lovasz::Kernel* k = lovasz::kernels(); k->name != nullptr; ++k)
    if (name == k->name) return *k;
  refuse("this processor cannot run the kernel " + name);
}

nb::tuple count(const std::string& name, const Array& logits, const Array& target, const std::optional<Array>& mask,
                const std::vector<int64_t>& ignore, int form, int steps, bool per_image,
                std::optional<double> smoothing, const std::vector<double>& ce_weights, int threads, Table table,
                Pixels pixels, const std::optional<Lower>& lower, const std::optional<Doubles>& weight) {
  Call call(logits, target, mask, ignore, form, static_cast<int>(table.shape(3)) - 1, steps, smoothing, ce_weights,
            {lower, weight});
  check(threads >= 1, "threads must be at least 1");
  const size_t rows = per_image ? logits.shape(0) : 1;
  check(table.shape(0) == rows && table.shape(1) == logits.shape(1) && table.shape(2) == 2,
        "table must be (N or 1, C, 2, bins + 1)");
  check(pixels.shape(0) == 2 && pixels.shape(1) == rows && pixels.shape(2) == table.shape(1),
        "pixels must be (2, N or 1, C)");
  const lovasz::Kernel& kernel = kernel_of(name);
  lovasz::Found found;
  {
    nb::gil_scoped_release release;
    if (call.input.upsample == nullptr) call.input.merge_axes();
    found = lovasz::count(kernel, call.problem, call.input, per_image, threads, table.data(), pixels.data(),
                          pixels.data() + rows * table.shape(1));
  }
  return nb::make_tuple(found.bad_labels, found.cross_entropy.loss, found.cross_entropy.weight);
}

void weigh(const std::string& name, const Table& table, const Doubles& steps, const Factors& coefficients,
           double alpha, double beta, int threads, Factors losses, Weights weights) {
  check(table.shape(2) == 2, "table must be (N or 1, C, 2, bins + 1)");
  check(steps.shape(0) + 1 == table.shape(3), "steps must have one entry for each bin");
  for (size_t i = 0; i < 2; ++i) {
    check(coefficients.shape(i) == table.shape(i), "coefficients must be (N or 1, C)");
    check(losses.shape(i) == table.shape(i), "losses must be (N or 1, C)");
  }
  for (size_t i = 0; i < 4; ++i) check(weights.shape(i) == table.shape(i), "weights must have the shape of table");
  check(alpha > 0 && beta > 0, "alpha and beta must be above 0");
  const bool wide = weights.dtype() == nb::dtype<double>();
  check(wide || weights.dtype() == nb::dtype<float>(), "weights must be float32 or float64");
  const lovasz::Kernel& kernel = kernel_of(name);
  nb::gil_scoped_release release;
  lovasz::weigh(kernel, table.data(), static_cast<int64_t>(table.shape(0) * table.shape(1)),
                static_cast<int>(steps.shape(0)), steps.data(), coefficients.data(), {alpha, beta}, threads,
                losses.data(), wide, weights.data());
}

void apply(const std::string& name, const Array& logits, const Array& target, const std::optional<Array>& mask,
           const std::vector<int64_t>& ignore, int form, int steps, std::optional<double> smoothing,
           const std::vector<double>& ce_weights, double scale, double ce_scale,
           const Weights& weights, int threads, Array gradient, const std::optional<Lower>& lower,
           const std::optional<Doubles>& weight) {
  Call call(logits, target, mask, ignore, form, static_cast<int>(weights.shape(3)) - 1, steps, smoothing, ce_weights,
            {lower, weight});
  const bool per_image = weights.shape(0) > 1;
  check((!per_image || weights.shape(0) == logits.shape(0)) && weights.shape(1) == logits.shape(1) &&
            weights.shape(2) == 2,
        "weights must be (N or 1, C, 2, bins + 1)");
  check(weights.dtype() == (call.problem.real == lovasz::Real::f64 ? nb::dtype<double>() : nb::dtype<float>()),
        "weights must be float64 for float64 logits, else float32");
  check(gradient.dtype() == (call.input.upsample == nullptr ? logits.dtype() : weights.dtype()),
        "gradient must have the dtype of logits, of weights where labels are finer");
  call.input.gradient = call.coarse(gradient, "gradient must have the shape of logits");
  const lovasz::Kernel& kernel = kernel_of(name);
  nb::gil_scoped_release release;
  if (call.input.upsample == nullptr) call.input.merge_axes();
  lovasz::apply(kernel, call.problem, call.input, per_image, threads, weights.data(), {scale, ce_scale});
}

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const lovasz::Kernel* k = lovasz::kernels(); k->name != nullptr; ++k) found.emplace_back(k->name);
  return found;
}

void exponential(const std::string& name, const Floats& in, Floats out) {
  check(in.shape(0) == out.shape(0), "out must have the shape of in");
  kernel_of(name).exponential(in.data(), out.data(), static_cast<int64_t>(in.shape(0)));
}

}  // namespace

NB_MODULE(_compiled, m) {
  m.doc() = "Count, weigh and apply for the CPU. Called by lovasz._kernels.cpu alone.";
  m.attr("HINGE_SCALE") = lovasz::kHingeScale;
  m.def("kernels", &names, "Names of the kernels that this processor can run, the best first.");
  m.def("count", &count, "kernel"_a, "logits"_a.noconvert(), "target"_a.noconvert(), "mask"_a.noconvert().none(),
        "ignore"_a, "form"_a, "steps"_a, "per_image"_a, "smoothing"_a.none(), "class_weights"_a, "threads"_a,
        "table"_a.noconvert(), "pixels"_a.noconvert(), "lower"_a.noconvert().none(), "weight"_a.noconvert().none(),
        "Fills table and the numbers of valid and of foreground pixels; returns the number of labels that are no class, "
        "and the sums of the cross-entropy and of its weights.");
  m.def("weigh", &weigh, "kernel"_a, "table"_a.noconvert(), "steps"_a.noconvert(), "coefficients"_a.noconvert(),
        "alpha"_a, "beta"_a, "threads"_a, "losses"_a.noconvert(), "weights"_a.noconvert(),
        "Fills losses, and weights with those of each bin times the coefficient of its class.");
  m.def("apply", &apply, "kernel"_a, "logits"_a.noconvert(), "target"_a.noconvert(), "mask"_a.noconvert().none(),
        "ignore"_a, "form"_a, "steps"_a, "smoothing"_a.none(), "class_weights"_a, "scale"_a, "ce_scale"_a,
        "weights"_a.noconvert(), "threads"_a, "gradient"_a.noconvert(), "lower"_a.noconvert().none(),
        "weight"_a.noconvert().none(), "Fills gradient, or adds to it where there is lower.");
  m.def("exponential", &exponential, "kernel"_a, "x"_a.noconvert(), "out"_a.noconvert(),
        "Fills out with the exponentials of x that a kernel computes.");
}
