// Labels as they are given: what is void, and what is no class.

struct Label {
  int label;   // -1 where void or no class
  bool wrong;  // no class, and not void either
};

__device__ inline Label read_label(const Pixels& a, i64 image, i64 c, i64 p, i64 labels) {
  const TARGET* target = static_cast<const TARGET*>(a.target);
  const i64 v = static_cast<i64>(__ldg(target + image * a.target_image + c * a.target_class + p * a.target_pixel));
  bool valid = !(a.has_ignored && v == a.ignored);
  if (a.mask != nullptr) {
    const unsigned char* mask = static_cast<const unsigned char*>(a.mask);
    valid = valid && __ldg(mask + image * a.mask_image + c * a.mask_class + p * a.mask_pixel) != 0;
  }
  const bool good = valid && v >= 0 && v < labels;
  return {good ? static_cast<int>(v) : -1, valid && !good};
}
