INLINE vector tanh_of(vector x)
{
    vector p, q;
    tanh_parts(x, &p, &q);
    return p / q;
}

INLINE vector sigmoid_of(vector x)
{
    vector p, q;
    tanh_parts(x * 0.5f, &p, &q);
    return (q + p) / (q + q);
}
