/* One layer of an LSTM in float32, forward only. All arrays are dense and row-major:
   x (steps, batch, inputs), h and c (batch, units), w (4 * units, inputs), u (4 * units, units),
   b (4 * units), out (steps, batch, units). The gates stand in the order input, forget, cell,
   output. h and c are the initial states, and the final ones afterwards. next has units numbers. */
#include <math.h>
#include <string.h>

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static float sum_up(const float *row, const float *values, long count) {
    float sum = 0.0f;
    for (long i = 0; i < count; i++) sum += row[i] * values[i];
    return sum;
}

void run_lstm(long steps, long batch, long inputs, long units, const float *x, float *h, float *c,
              const float *w, const float *u, const float *b, float *out, float *next) {
    for (long t = 0; t < steps; t++)
        for (long n = 0; n < batch; n++) {
            const float *given = x + (t * batch + n) * inputs;
            float *hidden = h + n * units, *cell = c + n * units;
            for (long k = 0; k < units; k++) {
                float gates[4];
                for (long g = 0; g < 4; g++) {
                    long row = g * units + k;
                    gates[g] = b[row] + sum_up(w + row * inputs, given, inputs) +
                               sum_up(u + row * units, hidden, units);
                }
                cell[k] = sigmoid(gates[1]) * cell[k] + sigmoid(gates[0]) * tanhf(gates[2]);
                next[k] = sigmoid(gates[3]) * tanhf(cell[k]);
            }
            memcpy(hidden, next, units * sizeof(float));
            memcpy(out + (t * batch + n) * units, next, units * sizeof(float));
        }
}
