/* The dtype of stored samples, `output.dtype` of a job. A float sample is x0 itself, [C,H,W], put into its type by
 * floats_put (format/floats.h); a uint8 one is pixels, [H,W,C], by quantise_uint8 (sample/quantise.h). */
#ifndef JOB_SAMPLE_DTYPE_H
#define JOB_SAMPLE_DTYPE_H

enum sample_dtype { SAMPLE_UINT8, SAMPLE_FLOAT32, SAMPLE_FLOAT16 };
extern const char *const sample_dtype_names[]; /* as in a job, by the enum; ends with NULL */

#endif
