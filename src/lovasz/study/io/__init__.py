"""Files in and out: masks, images, classes, tables; knows neither training nor scores."""
