"""One file a family of checkpoints; tools/export.py is the command. A family has add_options(parser) and
export(options), which reads options.source and writes the folder options.out through writer.write: model.pt, and
job.yaml, which makes the pictures that the family's own code makes."""
