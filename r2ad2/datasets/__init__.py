"""The data sets of the publication and two embedded ones, read from their publishers' files."""

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset, Split
from r2ad2.datasets.readers import dataset_names, load_dataset
from r2ad2.datasets.tfds_sets import from_tfds

__all__ = ["Dataset", "DatasetCard", "Split", "dataset_names", "from_tfds", "load_dataset"]
