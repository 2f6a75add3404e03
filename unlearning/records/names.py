"""The names of the files in the folder of a run. Imports nothing."""

DONE = "DONE"  # the results are whole
FAILED = "FAILED"  # holds the reason
TRACKED = "TRACKED"  # where the run has been logged, one line per destination

PROVENANCE = "provenance.json"
LOG = "log.txt"
RESULTS = "results.json"
CURVES = "curves.json"
CARD = "MODEL_CARD.md"
SPLIT = "split.safetensors"
PREDICTIONS = "predictions.safetensors"  # of the unlearned model, and the labels
REFERENCES = "references-"  # the name of the file with the other models' predictions, before its digest
WEIGHTS = "unlearned.safetensors"
GALLERY = "gallery.png"  # shows images, where it is asked for; a purge removes it
EARLIER = "earlier.safetensors"  # ids of the samples that earlier requests had forgotten, where there were any
SUMMARY = "summary"  # the figure that a run of its own always has
