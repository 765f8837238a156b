import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """One thread, and not the mode that a training of YOLO leaves on where a test breaks it off."""
    torch.use_deterministic_algorithms(False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    yield
    torch.set_num_threads(threads)
