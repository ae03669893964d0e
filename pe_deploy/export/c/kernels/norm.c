/* Layer normalisation of each row of `width` numbers. */
static void norm(size_t rows, size_t width, size_t stride, const float *x, const float *scale,
                 const float *bias, float epsilon, float *out)
{
    for (size_t row = 0; row < rows; row++, x += stride, out += stride) {
        float mean = 0.0f, spread = 0.0f;
        for (size_t at = 0; at < width; at++) mean += x[at];
        mean /= (float)width;
        for (size_t at = 0; at < width; at++) spread += (x[at] - mean) * (x[at] - mean);
        float factor = 1.0f / root(spread / (float)width + epsilon);
        for (size_t at = 0; at < width; at++)
            out[at] = (x[at] - mean) * factor * scale[at] + bias[at];
    }
}
