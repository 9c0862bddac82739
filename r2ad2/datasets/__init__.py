"""The data sets of the paper and two embedded ones, read from their publishers' files."""

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.catalogue import dataset_names, load_dataset
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.splits import Split
from r2ad2.datasets.tfds import from_tfds

__all__ = ["Dataset", "DatasetCard", "Split", "dataset_names", "from_tfds", "load_dataset"]
