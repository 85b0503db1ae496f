"""Work spread over the cores of this machine: processes with pipes and memory that they share with their employer."""
