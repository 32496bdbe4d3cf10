/* A run's samples in the forms other programs read. Each is written whole or not at all, and its bytes depend on the
 * samples alone, not on threads. */
#ifndef EXPORT_EXPORT_H
#define EXPORT_EXPORT_H

#include "export/rows.h"

#include <stdbool.h>

/* {seed:06d}.png, one file a sample, in a folder; subfolders: in {seed-seed%1000:06d}/ as EDM's generate.py --subdirs.
 * Samples of classes also get dataset.json, those of conditions metadata.jsonl. rows: ROW_PNG. The folder must not be
 * there, or be empty. */
int export_folder(struct rows *rows, const char *path, bool subfolders, struct error *err);
/* A folder a row of the run's conditions that has samples, as GenEval's scorer takes them: 00012/samples/0003.png, the
 * row and the number of the sample among those of the row, and 00012/metadata.jsonl, the row's line of the file
 * `records`, which has a JSON object a row. */
int export_prompts(struct rows *rows, const char *path, const char *records, struct error *err);
/* The files of export_folder in one zip, stored, named as by EDM's dataset_tool.py with the seed as index:
 * 00012/img00012345.png; and dataset.json where there are classes, {"labels": [[NAME, CLASS], ...]}. */
int export_zip(struct rows *rows, const char *path, struct error *err);
/* ADM's sample file: arr_0, the samples, where there are classes arr_1, int64 [N], and where there are
 * conditions "rows", int64 [N], which of them each got. rows: ROW_PIXELS. */
int export_npz(struct rows *rows, const char *path, struct error *err);
/* One array. rows: ROW_STORED or ROW_PIXELS. */
int export_npy(struct rows *rows, const char *path, struct error *err);

#endif
