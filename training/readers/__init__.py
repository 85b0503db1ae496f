"""Files to plain arrays: one reader a format. Readers know formats; what the columns mean is the task's business."""

from training.readers.dispatch import read_images, read_table
from training.readers.images import Images
from training.readers.table import Table

__all__ = ["Images", "Table", "read_images", "read_table"]
