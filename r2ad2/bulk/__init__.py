"""Table files of any size: scored and explained in bounded memory."""
